"""The JSON documents of the API and of its events, shared by server, client and OpenAPI; pure."""
