"""The status page: what ``lbctl status`` says, in a browser. Read-only, on loopback, without JavaScript too."""
