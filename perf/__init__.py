"""Speed, measured: the machine, the networks against it, and this harness against its peers."""
