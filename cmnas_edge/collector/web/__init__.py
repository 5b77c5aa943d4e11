"""What people and programs ask: the API, and the pages."""
