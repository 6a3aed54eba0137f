"""What all services here rest on: the clock, patches of moto, servers on the loopback."""
