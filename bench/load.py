"""Open-loop load: requests begin at fixed moments, however slow the answers are.

Usage: load.py PORT HOST RATE SECONDS. Every fifth request comes on a connection of its own, the
others on connections that are kept. Prints one JSON object; `failed` counts by cause everything
that is not a 200 with a body. Nothing is tried twice. Latencies count from the moment at which
the request was due.
"""
import asyncio
import collections
import json
import sys
import time

LIMIT_S = 15
port, host, rate, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
idle = []
failed = collections.Counter()
bodies = collections.Counter()
latencies = []


async def exchange(reader, writer, ending):
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {ending}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    status = int(head[0].split(" ")[1])
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    if "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    return status, body, fields.get("connection") != "close"


async def request(due, is_alone):
    connection = None
    may_keep = False
    try:
        async with asyncio.timeout(LIMIT_S):
            connection = idle.pop() if idle and not is_alone else await asyncio.open_connection("127.0.0.1", port)
            status, body, may_keep = await exchange(*connection, "close" if is_alone else "keep-alive")
        latencies.append(time.monotonic() - due)
        if status == 200 and body:
            bodies[body.decode().strip()] += 1
        else:
            failed[f"status {status}: {body[:120].decode(errors='replace')}"] += 1
    except Exception as error:  # whatever it is, the request failed
        failed[repr(error)[:120]] += 1
        may_keep = False
    if connection and may_keep and not is_alone:
        idle.append(connection)
    elif connection:
        connection[1].close()


async def main():
    start = time.monotonic()
    total = int(rate * seconds)
    async with asyncio.TaskGroup() as tasks:
        for number in range(total):
            due = start + number / rate
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            tasks.create_task(request(due, number % 5 == 0))
    spent = time.monotonic() - start
    for connection in idle:
        connection[1].close()
    latencies.sort()
    at = lambda part: round(1000 * latencies[min(int(part * len(latencies)), len(latencies) - 1)], 1) if latencies else None
    print(json.dumps({"requests": total, "rate": round(total / spent, 1), "failed": failed, "bodies": bodies,
                      "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1)}))


asyncio.run(main())
