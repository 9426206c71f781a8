"""The mobile network: attach requests, accounting, address leases, and the subscribers that were refused."""
