-- What signs the cookies of the pages: made here, so that no setting is needed, logins outlive
-- restarts, and every API of this database knows it. Another value logs all browsers out.

INSERT INTO schema_settings VALUES ('page_key', gen_random_uuid()::text || gen_random_uuid()::text)
ON CONFLICT DO NOTHING;
