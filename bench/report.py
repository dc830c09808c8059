"""Prints medians and ratios of one run. Usage: report.py RESULTS DEPLOYS RSS_KIB IDLE_KIB."""
import statistics
import sys

results, deploys, rss_kib, idle_kib = sys.argv[1:]
rows = {}
for line in open(results):
    name, round_, *figures = line.split()
    rows.setdefault(name, {})[int(round_)] = [float(f) for f in figures]


def median(name, column):
    return statistics.median(row[column] for row in rows[name].values())


def ratio(a, b, column):
    """Median over the rounds of the ratio within each round."""
    return statistics.median(rows[a][r][column] / rows[b][r][column] for r in rows[a])


names = {"min": "minimal pingora", "nginx": "nginx", "caddy": "Caddy", "cara": "this gateway"}
print(f"HTTP/1.1, 64 connections, 1 KiB, proxy on one core, {len(rows['cara'])} rounds (medians)\n")
print("| proxy | requests/s | p50 ms | p99 ms | CPU s per 100,000 | errors |")
print("|---|---|---|---|---|---|")
for name, title in names.items():
    errors = sum(int(row[4]) for row in rows[name].values())
    print(f"| {title} | {median(name, 0):,.0f} | {median(name, 1):.2f} | {median(name, 2):.2f} | {median(name, 3):.2f} | {errors} |")
print("\n| this gateway against | requests/s | p50 | p99 | CPU per request |")
print("|---|---|---|---|---|")
for other in ("min", "nginx", "caddy"):
    cells = " | ".join(f"{ratio('cara', other, c):.2f}" for c in range(4))
    print(f"| {names[other]} | {cells} |")

times = {"docker": [], "apply": [], "started": []}
for line in open(deploys):
    kind, seconds = line.split()
    times[kind].append(float(seconds))
pairs = [a / d for a, d in zip(times["apply"], times["docker"])]
print(f"\nCached image, {len(pairs)} pairs (medians): apply -> 200 in {statistics.median(times['apply']):.3f} s, "
      f"docker run -> 200 in {statistics.median(times['docker']):.3f} s, ratio {statistics.median(pairs):.2f}; "
      f"slowest apply {max(times['apply']):.3f} s")
print(f"Container started -> 200 through the gateway: {1000 * statistics.median(times['started']):.0f} ms, "
      f"slowest {1000 * max(times['started']):.0f} ms")
print(f"Resident memory: server with agent, idle {int(idle_kib) / 1024:.0f} MiB; server after the load {int(rss_kib) / 1024:.0f} MiB")
