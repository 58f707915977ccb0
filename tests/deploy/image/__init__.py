"""L4 and L5: an image built by packer, booted twice, as two agents of a hub on this machine. `make image-test`."""
