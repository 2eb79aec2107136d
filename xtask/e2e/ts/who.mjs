// A stdio server with one tool: whose token it has been given, by the word of the forge. It answers
// anew each time, so that a token that has ended is an error.

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';

const { FORGE_URL, FORGE_TOKEN } = process.env;

const server = new McpServer({ name: 'who', version: '1.0.0' });
server.registerTool('who', { description: 'Says who the token belongs to, and which process asked' }, async () => {
  const response = await fetch(`${FORGE_URL}/api/v1/user`, { headers: { authorization: `token ${FORGE_TOKEN}` } });
  const answer = await response.text();
  if (!response.ok) return { isError: true, content: [{ type: 'text', text: `${response.status} ${answer}` }] };
  const { login } = JSON.parse(answer);
  return { content: [{ type: 'text', text: JSON.stringify({ login, pid: process.pid }) }] };
});
await server.connect(new StdioServerTransport());
