"""DTLS 1.2 without I/O (RFC 6347): records, cookies, hellos, and an engine on OpenSSL."""
