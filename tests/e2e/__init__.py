"""The whole product as strangers use it: a server in its own process, and clients that we did not write."""
