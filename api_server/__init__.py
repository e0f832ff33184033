"""The API on the server: takes samples in, idempotently, and answers with what they say."""
