-- Whether the operator made a client with a secret is asked whenever somebody reads the metadata of the
-- authorization server: not by reading all clients.

CREATE INDEX clients_confidential ON clients (origin) WHERE origin = 'operator' AND secret IS NOT NULL;
