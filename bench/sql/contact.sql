-- The ContactInput of user n, in about as many bytes of text: small 60 (an e-mail only), usual 115,
-- full 200.
CREATE FUNCTION contact(n bigint, kind text)
RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT CASE kind
		WHEN 'small' THEN jsonb_build_object(
			'external_id', n::text,
			'email', 'given.' || n || '@example.com')
		WHEN 'usual' THEN jsonb_build_object(
			'external_id', n::text,
			'name', 'Given ' || n || ' Family',
			'email', 'given.' || n || '@example.com',
			'phonenumber', '+1 555 ' || lpad(n::text, 8, '0'))
		WHEN 'full' THEN jsonb_build_object(
			'external_id', n::text,
			'name', 'Given ' || n || ' Family',
			'email', 'given.' || n || '@example.com',
			'phonenumber', '+1 555 ' || lpad(n::text, 8, '0'),
			'custom_attributes', jsonb_build_object(
				'company', 'Example Company ' || n % 1000,
				'plan', 'business'))
		END
$$;
