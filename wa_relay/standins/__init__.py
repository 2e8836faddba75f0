"""Stand-ins of the two services and of a receiver of alerts, over real sockets: for demo, tests and benchmarks."""
