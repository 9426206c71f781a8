"""DTLS 1.2 without I/O (RFC 6347): records, cookies, hellos, and sessions on OpenSSL."""
