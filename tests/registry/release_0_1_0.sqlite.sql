PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE about (
	schema INTEGER NOT NULL, 
	PRIMARY KEY (schema)
);
INSERT INTO about VALUES(5);
CREATE TABLE cellular_reservations (
	address VARCHAR(43) NOT NULL, 
	device_id BIGINT, 
	imsi VARCHAR(15) NOT NULL, 
	imei VARCHAR(16) NOT NULL, 
	apn TEXT NOT NULL, 
	until_ms BIGINT NOT NULL, 
	PRIMARY KEY (address)
);
INSERT INTO cellular_reservations VALUES('10.0.0.7',9223372036854775807,'242016000000001','350000000000001','mda.test',9223372036854775807);
CREATE TABLE cellular_sessions (
	id BIGINT NOT NULL, 
	nas TEXT NOT NULL, 
	nas_address TEXT NOT NULL, 
	session TEXT NOT NULL, 
	device_id BIGINT, 
	attached_ms BIGINT NOT NULL, 
	imsi VARCHAR(15) NOT NULL, 
	imei VARCHAR(16) NOT NULL, 
	apn TEXT NOT NULL, 
	address TEXT NOT NULL, 
	prefix TEXT NOT NULL, 
	told_ms BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO cellular_sessions VALUES(9223372036854775807,'pgw1','192.0.2.10','C0000201A0000001',9223372036854775807,1714076616000,'242016000000001','356938035643809','mda.test','10.0.0.1','2001:db8::/64',9223372036854775807);
CREATE TABLE certificates (
	serial BIGINT NOT NULL, 
	collection_id BIGINT NOT NULL, 
	device_id BIGINT, 
	gateway_id BIGINT, 
	not_before_ms BIGINT NOT NULL, 
	not_after_ms BIGINT NOT NULL, 
	revoked_ms BIGINT NOT NULL, 
	PRIMARY KEY (serial)
);
INSERT INTO certificates VALUES(5,1,9223372036854775807,NULL,1,2,3);
CREATE TABLE collections (
	id BIGINT NOT NULL, 
	team_id BIGINT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	current_firmware_id BIGINT NOT NULL, 
	target_firmware_id BIGINT NOT NULL, 
	management VARCHAR(16) NOT NULL, 
	tags JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO collections VALUES(1,7,0,3,9223372036854775807,'device','{"name":"Måling"}');
INSERT INTO collections VALUES(2,7,0,3,9223372036854775807,'device','{"name":"Måling"}');
CREATE TABLE downstream (
	id BIGINT NOT NULL, 
	device_id BIGINT NOT NULL, 
	payload BLOB NOT NULL, 
	created_ms BIGINT NOT NULL, 
	sent_ms BIGINT NOT NULL, 
	transport VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO downstream VALUES(9,9223372036854775807,X'00646f776e',5,6,'udp','sent');
CREATE TABLE tokens (
	id BIGINT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	resource TEXT NOT NULL, 
	write BOOLEAN NOT NULL, 
	name TEXT NOT NULL, 
	created_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (digest)
);
INSERT INTO tokens VALUES(8,'0000000000000000000000000000000000000000000000000000000000000008','/',1,'admin',5);
CREATE TABLE blobs (
	id BIGINT NOT NULL, 
	collection_id BIGINT NOT NULL, 
	device_id BIGINT NOT NULL, 
	gateway_id BIGINT NOT NULL, 
	content_type TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	created_ns BIGINT NOT NULL, 
	properties JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(collection_id) REFERENCES collections (id)
);
INSERT INTO blobs VALUES(7,1,9223372036854775807,3,'image/jpeg',9223372036854775807,9223372036854775807,'{"path":"/å"}');
CREATE TABLE devices (
	id BIGINT NOT NULL, 
	collection_id BIGINT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	imsi VARCHAR(15) NOT NULL, 
	imei VARCHAR(16) NOT NULL, 
	gateways JSON NOT NULL, 
	tags JSON NOT NULL, 
	firmware JSON NOT NULL, 
	ciot JSON NOT NULL, 
	inet JSON NOT NULL, 
	last_gateway_id BIGINT NOT NULL, 
	last_transport VARCHAR(16) NOT NULL, 
	last_received_ns BIGINT NOT NULL, 
	last_payload BLOB NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(collection_id) REFERENCES collections (id)
);
INSERT INTO devices VALUES(9223372036854775807,1,0,'242016000000001','350000000000001','{"acd772jnc9l0l7":{"devEui":"00"},"3":{"a":"b"}}','{"name":"a b","empty":""}','{"current_firmware_id":1,"target_firmware_id":2,"firmware_version":"1.0","serial_number":"sn","model_number":"mn","manufacturer":"maker","state":"Pending","state_message":"waits","state_ms":0,"state_image_id":0,"reported_ms":0,"download_image_id":0,"download_end":0,"download_block":0,"download_ms":0,"download_block_size":0,"download_length":0}','{"gateway_id":3,"allocated_ip":"10.0.0.1","allocated_at":1714076616000,"cell_id":"cell","mcc":242,"mnc":1,"country":"Norway","network":"Telenor","country_code":"NO","last_update":5,"last_imsi":"24201","last_imei":"35","allocated_prefix":"2001:db8::/64","static_ip":"10.0.0.2","last_ip":"10.0.0.3","last_prefix":"2001:db8:1::/64"}','{"gateway_id":4,"last_update":6,"remote_address":"10.0.0.2:1","certificate_serial":"99"}',3,'coap',1715070269492894739,X'00ff');
CREATE TABLE firmware_images (
	id BIGINT NOT NULL, 
	collection_id BIGINT NOT NULL, 
	version TEXT NOT NULL, 
	filename TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	length BIGINT NOT NULL, 
	created_ms BIGINT NOT NULL, 
	tags JSON NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (collection_id, version), 
	UNIQUE (collection_id, sha256), 
	FOREIGN KEY(collection_id) REFERENCES collections (id)
);
INSERT INTO firmware_images VALUES(6,1,'1.6 ','å.bin','0000000000000000000000000000000000000000000000000000000000000006',9223372036854775807,7,'{"a":"b"}',1);
CREATE TABLE gateways (
	id BIGINT NOT NULL, 
	collection_id BIGINT NOT NULL, 
	type VARCHAR(16) NOT NULL, 
	name TEXT NOT NULL, 
	params JSON NOT NULL, 
	tags JSON NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	reported JSON NOT NULL, 
	reported_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(collection_id) REFERENCES collections (id)
);
INSERT INTO gateways VALUES(9223372036854775807,1,'lora','Dach','{"region":"EU868"}','{"name":"Måling"}',0,'{"version":"1.0"}',1714076616000);
CREATE TABLE gateway_metadata (
	device_id BIGINT NOT NULL, 
	gateway_id BIGINT NOT NULL, 
	last_update BIGINT NOT NULL, 
	params JSON NOT NULL, 
	PRIMARY KEY (device_id), 
	FOREIGN KEY(device_id) REFERENCES devices (id)
);
INSERT INTO gateway_metadata VALUES(9223372036854775807,9223372036854775807,1714076616000,'{"rssi":"-90"}');
CREATE TABLE psks (
	device_id BIGINT NOT NULL, 
	identity BLOB NOT NULL, 
	"key" BLOB NOT NULL, 
	PRIMARY KEY (device_id), 
	FOREIGN KEY(device_id) REFERENCES devices (id), 
	UNIQUE (identity)
);
INSERT INTO psks VALUES(9223372036854775807,X'ff70756d70',X'00000000000000000000000000000000');
CREATE INDEX ix_downstream_device_id ON downstream (device_id);
CREATE INDEX ix_blobs_collection_id ON blobs (collection_id);
CREATE INDEX ix_devices_collection_id ON devices (collection_id);
CREATE INDEX ix_gateways_collection_id ON gateways (collection_id);
COMMIT;
