"""Stand-ins of the two services, over real sockets: for the demonstration, the tests and the benchmarks."""
