#!/usr/bin/env python3
"""Two mounted drives by turns: what a program waits for when it opens and saves a document of 17 KB.

    benches/by_turns.py DRIVE OTHER-DRIVE [ROUNDS] [OPERATION,…]

Prints medians and ninetieth percentiles in milliseconds, and the ratio of the medians. Each round does every operation on both drives, the one first
that was second before.
"""

import os
import random
import statistics
import sys
import time

SIZE = 17_000
FILES = 20


def contents(number):
    return random.Random(number).randbytes(SIZE)


def path(drive, number):
    return f"{drive}/f{number % FILES}.docx"


def timed(work):
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def opened(drive, number):
    """open(2) of a file that was saved just before: its look-up or its attributes, and the open."""
    kept = []
    took = timed(lambda: kept.append(os.open(path(drive, number), os.O_RDONLY)))
    os.close(kept[0])
    return took


def read(drive, number):
    """open, read, close, of a file that the kernel knows."""

    def work():
        file = os.open(path(drive, number), os.O_RDONLY)
        os.read(file, SIZE)
        os.close(file)

    return timed(work)


def saved(drive, number, sync=False):
    """pwrite and close of a file that is open."""
    file, new = os.open(path(drive, number), os.O_RDWR), contents(number)

    def work():
        os.pwrite(file, new, 0)
        if sync:
            os.fsync(file)
        os.close(file)

    return timed(work)


def synced(drive, number):
    """The same with fsync before close."""
    return saved(drive, number, sync=True)


def replaced(drive, number, sync=True):
    """As Word saves: a new file, the old one renamed, the new one renamed, the old one removed."""
    new, old = f"{drive}/~WRD{number:04}.tmp", f"{drive}/~WRL{number:04}.tmp"
    text = contents(number)

    def work():
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.write(file, text)
        if sync:
            os.fsync(file)
        os.close(file)
        os.rename(path(drive, number), old)
        os.rename(new, path(drive, number))
        os.unlink(old)

    return timed(work)


OPERATIONS = {"open": opened, "read": read, "save": saved, "fsync": synced, "word": replaced}


def main():
    drives = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 250
    chosen = sys.argv[4].split(",") if len(sys.argv) > 4 else list(OPERATIONS)
    for drive in drives:
        for number in range(FILES):
            with open(path(drive, number), "wb") as file:
                file.write(contents(number))
    took = {name: ([], []) for name in chosen}
    for number in range(rounds):
        for name in chosen:
            for which in (0, 1) if number % 2 else (1, 0):
                took[name][which].append(OPERATIONS[name](drives[which], number))
                time.sleep(0.002)
    for name, (first, second) in took.items():
        one, other = statistics.median(first), statistics.median(second)
        late = [sorted(times)[len(times) * 9 // 10] for times in (first, second)]
        print(f"{name:6} {one:7.3f} {other:7.3f}  ratio {other / one:5.2f}  p90 {late[0]:7.3f} {late[1]:7.3f}")


main()
