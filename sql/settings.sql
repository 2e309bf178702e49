-- The settings: their defaults, who may change them, and what they refuse.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

SELECT substr(name, 15) AS name, boot_val, unit, min_val, max_val, context
FROM pg_settings
WHERE name IN ('contacts_push.api_key', 'contacts_push.api_key_file', 'contacts_push.base_url', 'contacts_push.ca_file',
	'contacts_push.connect_timeout', 'contacts_push.request_timeout', 'contacts_push.batch_size',
	'contacts_push.max_request_bytes', 'contacts_push.max_response_bytes', 'contacts_push.max_concurrent_requests',
	'contacts_push.requests_per_second', 'contacts_push.max_attempts', 'contacts_push.max_backoff',
	'contacts_push.request_retention', 'contacts_push.enabled')
ORDER BY name;
SELECT name FROM pg_settings WHERE name LIKE 'contacts\_push.%' AND COALESCE(short_desc, '') = '';
-- There are no others.  The server's own words differ from version to version.
\set VERBOSITY sqlstate
SET contacts_push.base_ulr = 'https://example.com';
\set VERBOSITY default

-- base_url: https to anywhere, http to this machine.
SET contacts_push.base_url = 'https://www.chatbase.co/api/v1';
SET contacts_push.base_url = 'HTTPS://Example.com';
SET contacts_push.base_url = 'https://example.com:8443/a/b/';
SET contacts_push.base_url = 'https://192.0.2.1/api/v1';
SET contacts_push.base_url = 'https://[2001:db8::1]:443/api/v1';
SET contacts_push.base_url = 'http://localhost';
SET contacts_push.base_url = 'http://LocalHost:8080/api/v1';
SET contacts_push.base_url = 'http://127.0.0.1/api/v1';
SET contacts_push.base_url = 'http://127.255.0.254:80/';
SET contacts_push.base_url = 'http://[::1]:8080/api/v1';
SHOW contacts_push.base_url;
SET contacts_push.base_url = 'http://example.com/api/v1';
SET contacts_push.base_url = 'http://192.0.2.1/api/v1';
SET contacts_push.base_url = 'http://[2001:db8::1]/api/v1';
SET contacts_push.base_url = 'http://localhost.example.com/';
SET contacts_push.base_url = 'http://127.0.0.1.example.com/';
SET contacts_push.base_url = 'http://127.0.0.256/';
SET contacts_push.base_url = 'http://127.1/';
SET contacts_push.base_url = 'http://2130706433/';
SET contacts_push.base_url = 'http://0.0.0.0/';
SET contacts_push.base_url = 'http://[::1].example.com/';
SET contacts_push.base_url = 'http://localhost:80@example.com/';
SET contacts_push.base_url = 'http://127.0.0.1:80.example.com/';
SET contacts_push.base_url = 'https://user@example.com/';
SET contacts_push.base_url = 'https://user:password@example.com/';
SET contacts_push.base_url = 'https://example.com/?a=b';
SET contacts_push.base_url = 'https://example.com/#a';
SET contacts_push.base_url = 'https://example.com/a b';
SET contacts_push.base_url = 'https://example.com\@example.org/';
SET contacts_push.base_url = E'https://example.com/\r\nX-Header: a';
SET contacts_push.base_url = 'https://exämple.com/';
SET contacts_push.base_url = 'https://example.com:port/';
SET contacts_push.base_url = 'https://example.com:/';
SET contacts_push.base_url = 'https://[2001:db8::1/';
SET contacts_push.base_url = 'https://:443/';
SET contacts_push.base_url = 'https:///api/v1';
SET contacts_push.base_url = 'https://';
SET contacts_push.base_url = 'ftp://localhost/';
SET contacts_push.base_url = 'www.chatbase.co/api/v1';
SET contacts_push.base_url = '';
SHOW contacts_push.base_url;
RESET contacts_push.base_url;

-- The slash at its end may be there or not.
SELECT set_config('contacts_push.base_url', :'base_url' || '/', false) ~ '/api/v1/$' AS slash;
SELECT external_id FROM chatbase_create_contacts('bot', '{"external_id": "slash"}');
SELECT path FROM test.requests();
RESET contacts_push.base_url;

-- The key: for the server as a whole only, and its value isn't repeated where it is refused.
\set VERBOSITY sqlstate
SET contacts_push.api_key = 'secret';
ALTER DATABASE :"DBNAME" SET contacts_push.api_key = 'secret';
ALTER ROLE CURRENT_USER SET contacts_push.api_key = 'secret';
\set VERBOSITY default
ALTER SYSTEM SET contacts_push.api_key = 'secret with spaces';
ALTER SYSTEM SET contacts_push.api_key = E'secret\r\nX-Header: a';
ALTER SYSTEM SET contacts_push.api_key = 'sécret';
SHOW contacts_push.api_key;

-- Numbers.
\set VERBOSITY sqlstate
ALTER SYSTEM SET contacts_push.batch_size = 1001;
ALTER SYSTEM SET contacts_push.batch_size = 0;
ALTER SYSTEM SET contacts_push.requests_per_second = 0;
ALTER SYSTEM SET contacts_push.max_concurrent_requests = 0;
SET contacts_push.request_timeout = 0;
SET contacts_push.connect_timeout = -1;
SET contacts_push.request_timeout = '1.5s';
SHOW contacts_push.request_timeout;
SET contacts_push.batch_size = 10;

-- Who may do what.
CREATE ROLE regress_contacts_push;
SET ROLE regress_contacts_push;
SET contacts_push.request_timeout = '2s';
SET contacts_push.base_url = 'https://example.com';
SET contacts_push.ca_file = '/tmp/ca.pem';
SET contacts_push.connect_timeout = '2s';
SHOW contacts_push.api_key;
SHOW contacts_push.api_key_file;
SELECT name, setting FROM pg_settings WHERE name LIKE 'contacts\_push.api\_key%';
RESET ROLE;
\set VERBOSITY default
DROP ROLE regress_contacts_push;
