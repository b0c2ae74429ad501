"""What the benchmarks share: contenders, apps, load, measuring, drawing."""
