"""Files of firmware images and blobs: in a folder, or in an object store with S3's API."""
