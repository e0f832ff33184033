"""What the API says of itself: OpenAPI 3.1, made from what the routes already know."""
