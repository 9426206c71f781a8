-- Role and database of a span-events server, once: psql -v password=SECRET -f span-events.sql
-- The nodes make their tables themselves, and change them with a new release.
CREATE ROLE span_events LOGIN PASSWORD :'password' CONNECTION LIMIT 180;
CREATE DATABASE span_events OWNER span_events ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE span_events FROM PUBLIC;
