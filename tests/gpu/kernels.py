#!/usr/bin/env python3
"""Sums what `ncu --metrics gpu__time_duration.sum --csv` wrote by kernel: kernels.py FILE."""
import collections, csv, sys

lines = [line for line in open(sys.argv[1]) if line.startswith('"')]
count, time = collections.Counter(), collections.Counter()
scale = {"ns": 1e-6, "nsecond": 1e-6, "us": 1e-3, "usecond": 1e-3, "ms": 1.0, "msecond": 1.0, "s": 1e3, "second": 1e3}
for kernel in csv.DictReader(lines):
    name = kernel["Kernel Name"].replace("(anonymous namespace)", "").split("(")[0]
    count[name] += 1
    time[name] += float(kernel["Metric Value"].replace(",", "")) * scale[kernel["Metric Unit"]]
if not count:
    sys.exit(f"{sys.argv[1]}: no kernels")
print(f"{sum(count.values())} kernels, {sum(time.values()):.3f} ms")
for name, ms in time.most_common(40):
    print(f"{ms:9.3f} ms {count[name]:5d}  {name}")
