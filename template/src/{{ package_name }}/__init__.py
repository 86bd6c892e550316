"""Plan, train, evaluate, serve and monitor one model; start with `ml --help`."""
