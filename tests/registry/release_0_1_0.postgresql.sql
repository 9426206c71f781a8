CREATE TABLE about (
    schema integer NOT NULL
);
CREATE TABLE blobs (
    id bigint NOT NULL,
    collection_id bigint NOT NULL,
    device_id bigint NOT NULL,
    gateway_id bigint NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL,
    created_ns bigint NOT NULL,
    properties json NOT NULL
);
CREATE TABLE cellular_reservations (
    address character varying(43) NOT NULL,
    device_id bigint,
    imsi character varying(15) NOT NULL,
    imei character varying(16) NOT NULL,
    apn text NOT NULL,
    until_ms bigint NOT NULL
);
CREATE TABLE cellular_sessions (
    id bigint NOT NULL,
    nas text NOT NULL,
    nas_address text NOT NULL,
    session text NOT NULL,
    device_id bigint,
    attached_ms bigint NOT NULL,
    imsi character varying(15) NOT NULL,
    imei character varying(16) NOT NULL,
    apn text NOT NULL,
    address text NOT NULL,
    prefix text NOT NULL,
    told_ms bigint NOT NULL
);
CREATE TABLE certificates (
    serial bigint NOT NULL,
    collection_id bigint NOT NULL,
    device_id bigint,
    gateway_id bigint,
    not_before_ms bigint NOT NULL,
    not_after_ms bigint NOT NULL,
    revoked_ms bigint NOT NULL
);
CREATE TABLE collections (
    id bigint NOT NULL,
    team_id bigint NOT NULL,
    enabled boolean NOT NULL,
    current_firmware_id bigint NOT NULL,
    target_firmware_id bigint NOT NULL,
    management character varying(16) NOT NULL,
    tags json NOT NULL
);
CREATE TABLE devices (
    id bigint NOT NULL,
    collection_id bigint NOT NULL,
    enabled boolean NOT NULL,
    imsi character varying(15) NOT NULL,
    imei character varying(16) NOT NULL,
    gateways json NOT NULL,
    tags json NOT NULL,
    firmware json NOT NULL,
    ciot json NOT NULL,
    inet json NOT NULL,
    last_gateway_id bigint NOT NULL,
    last_transport character varying(16) NOT NULL,
    last_received_ns bigint NOT NULL,
    last_payload bytea NOT NULL
);
CREATE TABLE downstream (
    id bigint NOT NULL,
    device_id bigint NOT NULL,
    payload bytea NOT NULL,
    created_ms bigint NOT NULL,
    sent_ms bigint NOT NULL,
    transport character varying(16) NOT NULL,
    state character varying(16) NOT NULL
);
CREATE TABLE firmware_images (
    id bigint NOT NULL,
    collection_id bigint NOT NULL,
    version text NOT NULL,
    filename text NOT NULL,
    sha256 character varying(64) NOT NULL,
    length bigint NOT NULL,
    created_ms bigint NOT NULL,
    tags json NOT NULL,
    enabled boolean NOT NULL
);
CREATE TABLE gateway_metadata (
    device_id bigint NOT NULL,
    gateway_id bigint NOT NULL,
    last_update bigint NOT NULL,
    params json NOT NULL
);
CREATE TABLE gateways (
    id bigint NOT NULL,
    collection_id bigint NOT NULL,
    type character varying(16) NOT NULL,
    name text NOT NULL,
    params json NOT NULL,
    tags json NOT NULL,
    enabled boolean NOT NULL,
    reported json NOT NULL,
    reported_ms bigint NOT NULL
);
CREATE TABLE psks (
    device_id bigint NOT NULL,
    identity bytea NOT NULL,
    key bytea NOT NULL
);
CREATE TABLE tokens (
    id bigint NOT NULL,
    digest character varying(64) NOT NULL,
    resource text NOT NULL,
    write boolean NOT NULL,
    name text NOT NULL,
    created_ms bigint NOT NULL
);
INSERT INTO about VALUES (5);
INSERT INTO blobs VALUES (7, 1, 9223372036854775807, 3, 'image/jpeg', 9223372036854775807, 9223372036854775807, '{"path":"/å"}');
INSERT INTO cellular_reservations VALUES ('10.0.0.7', 9223372036854775807, '242016000000001', '350000000000001', 'mda.test', 9223372036854775807);
INSERT INTO cellular_sessions VALUES (9223372036854775807, 'pgw1', '192.0.2.10', 'C0000201A0000001', 9223372036854775807, 1714076616000, '242016000000001', '356938035643809', 'mda.test', '10.0.0.1', '2001:db8::/64', 9223372036854775807);
INSERT INTO certificates VALUES (5, 1, 9223372036854775807, NULL, 1, 2, 3);
INSERT INTO collections VALUES (1, 7, false, 3, 9223372036854775807, 'device', '{"name":"Måling"}');
INSERT INTO collections VALUES (2, 7, false, 3, 9223372036854775807, 'device', '{"name":"Måling"}');
INSERT INTO devices VALUES (9223372036854775807, 1, false, '242016000000001', '350000000000001', '{"acd772jnc9l0l7":{"devEui":"00"},"3":{"a":"b"}}', '{"name":"a b","empty":""}', '{"current_firmware_id":1,"target_firmware_id":2,"firmware_version":"1.0","serial_number":"sn","model_number":"mn","manufacturer":"maker","state":"Pending","state_message":"waits","state_ms":0,"state_image_id":0,"reported_ms":0,"download_image_id":0,"download_end":0,"download_block":0,"download_ms":0,"download_block_size":0,"download_length":0}', '{"gateway_id":3,"allocated_ip":"10.0.0.1","allocated_at":1714076616000,"cell_id":"cell","mcc":242,"mnc":1,"country":"Norway","network":"Telenor","country_code":"NO","last_update":5,"last_imsi":"24201","last_imei":"35","allocated_prefix":"2001:db8::/64","static_ip":"10.0.0.2","last_ip":"10.0.0.3","last_prefix":"2001:db8:1::/64"}', '{"gateway_id":4,"last_update":6,"remote_address":"10.0.0.2:1","certificate_serial":"99"}', 3, 'coap', 1715070269492894739, '\x00ff');
INSERT INTO downstream VALUES (9, 9223372036854775807, '\x00646f776e', 5, 6, 'udp', 'sent');
INSERT INTO firmware_images VALUES (6, 1, '1.6 ', 'å.bin', '0000000000000000000000000000000000000000000000000000000000000006', 9223372036854775807, 7, '{"a":"b"}', true);
INSERT INTO gateway_metadata VALUES (9223372036854775807, 9223372036854775807, 1714076616000, '{"rssi":"-90"}');
INSERT INTO gateways VALUES (9223372036854775807, 1, 'lora', 'Dach', '{"region":"EU868"}', '{"name":"Måling"}', false, '{"version":"1.0"}', 1714076616000);
INSERT INTO psks VALUES (9223372036854775807, '\xff70756d70', '\x00000000000000000000000000000000');
INSERT INTO tokens VALUES (8, '0000000000000000000000000000000000000000000000000000000000000008', '/', true, 'admin', 5);
ALTER TABLE ONLY about
    ADD CONSTRAINT about_pkey PRIMARY KEY (schema);
ALTER TABLE ONLY blobs
    ADD CONSTRAINT blobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY cellular_reservations
    ADD CONSTRAINT cellular_reservations_pkey PRIMARY KEY (address);
ALTER TABLE ONLY cellular_sessions
    ADD CONSTRAINT cellular_sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY certificates
    ADD CONSTRAINT certificates_pkey PRIMARY KEY (serial);
ALTER TABLE ONLY collections
    ADD CONSTRAINT collections_pkey PRIMARY KEY (id);
ALTER TABLE ONLY devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (id);
ALTER TABLE ONLY downstream
    ADD CONSTRAINT downstream_pkey PRIMARY KEY (id);
ALTER TABLE ONLY firmware_images
    ADD CONSTRAINT firmware_images_collection_id_sha256_key UNIQUE (collection_id, sha256);
ALTER TABLE ONLY firmware_images
    ADD CONSTRAINT firmware_images_collection_id_version_key UNIQUE (collection_id, version);
ALTER TABLE ONLY firmware_images
    ADD CONSTRAINT firmware_images_pkey PRIMARY KEY (id);
ALTER TABLE ONLY gateway_metadata
    ADD CONSTRAINT gateway_metadata_pkey PRIMARY KEY (device_id);
ALTER TABLE ONLY gateways
    ADD CONSTRAINT gateways_pkey PRIMARY KEY (id);
ALTER TABLE ONLY psks
    ADD CONSTRAINT psks_identity_key UNIQUE (identity);
ALTER TABLE ONLY psks
    ADD CONSTRAINT psks_pkey PRIMARY KEY (device_id);
ALTER TABLE ONLY tokens
    ADD CONSTRAINT tokens_digest_key UNIQUE (digest);
ALTER TABLE ONLY tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);
CREATE INDEX ix_blobs_collection_id ON blobs USING btree (collection_id);
CREATE INDEX ix_devices_collection_id ON devices USING btree (collection_id);
CREATE INDEX ix_downstream_device_id ON downstream USING btree (device_id);
CREATE INDEX ix_gateways_collection_id ON gateways USING btree (collection_id);
ALTER TABLE ONLY blobs
    ADD CONSTRAINT blobs_collection_id_fkey FOREIGN KEY (collection_id) REFERENCES collections(id);
ALTER TABLE ONLY devices
    ADD CONSTRAINT devices_collection_id_fkey FOREIGN KEY (collection_id) REFERENCES collections(id);
ALTER TABLE ONLY firmware_images
    ADD CONSTRAINT firmware_images_collection_id_fkey FOREIGN KEY (collection_id) REFERENCES collections(id);
ALTER TABLE ONLY gateway_metadata
    ADD CONSTRAINT gateway_metadata_device_id_fkey FOREIGN KEY (device_id) REFERENCES devices(id);
ALTER TABLE ONLY gateways
    ADD CONSTRAINT gateways_collection_id_fkey FOREIGN KEY (collection_id) REFERENCES collections(id);
ALTER TABLE ONLY psks
    ADD CONSTRAINT psks_device_id_fkey FOREIGN KEY (device_id) REFERENCES devices(id);
