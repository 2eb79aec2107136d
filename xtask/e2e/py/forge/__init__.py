"""What the stories of a forge are told with: its API, its pages, the broker, and the way between them."""
