"""VICReg on CIFAR-10 (report E)."""
