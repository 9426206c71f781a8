"""CoAP over UDP and over DTLS: requests from devices, and the resources that answer them."""
