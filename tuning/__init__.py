"""Many runs: sweeps, and claims over seeds."""
