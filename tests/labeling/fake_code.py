"""An electronic-structure code of the standard library alone: atoms on springs, and every fault that real ones have.

    python -S fake_code.py INPUT OUTPUT LOG [SECONDS]

LOG gets a line "start PID NUMBER" and, at the end, "end PID NUMBER".  ``fault=...`` in the header asks for a fault: raise,
hang, nan, permuted, unconverged, moved, huge, empty, child (a child that ignores SIGTERM hangs in a session of its own).
``once=T``: only on the first attempt.
"""

import os
import re
import subprocess
import sys
import time

STIFFNESS = 2.0  # eV/Å²


def log(words):
    with open(sys.argv[3], "a") as file:
        file.write(f"{words}\n")


def main():
    with open(sys.argv[1]) as file:
        lines = file.read().splitlines()
    header = lines[1]
    info = dict(re.findall(r"(\w+)=([^ \"]+)", header))
    number = info.get("number", "0")
    log(f"start {os.getpid()} {number}")
    atoms = [(words[0], [float(x) for x in words[1:4]]) for words in map(str.split, lines[2:])]
    time.sleep(float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)
    fault = info.get("fault", "")
    if info.get("once") == "T":
        marker = f"{sys.argv[3]}.{number}"
        if os.path.exists(marker):
            fault = ""
        open(marker, "w").close()
    if fault == "raise":
        sys.exit("ZBRENT: fatal error in bracketing")
    if fault == "hang":
        time.sleep(1000)
    if fault == "child":
        code = "import signal, time, os; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        code += "print(os.getpid(), flush=True); time.sleep(1000)"
        child = subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True, stdout=subprocess.PIPE, text=True)
        log(f"start {child.stdout.readline().strip()} {number}")
        time.sleep(1000)
    energy = sum(STIFFNESS / 2 * x * x for _, r in atoms for x in r)
    rows = [(s, r, [-STIFFNESS * x for x in r]) for s, r in atoms]
    if fault == "nan":
        rows[1][2][0] = float("nan")
    if fault == "permuted":
        rows[0], rows[2] = rows[2], rows[0]
    if fault == "moved":
        rows[1][1][2] += 0.1
    if fault == "huge":
        rows[1][2][2] = -1.0e5
    extra = " converged=F" if fault == "unconverged" else ""
    lattice = re.search(r'Lattice="[^"]*"', header)
    with open(sys.argv[2], "w") as file:
        if fault != "empty":
            pbc = re.search(r'pbc="[^"]*"', header).group(0)
            columns = "Properties=species:S:1:pos:R:3:forces:R:3"
            file.write(f"{len(rows)}\n{lattice.group(0) if lattice else ''} {columns} energy={energy!r} {pbc}{extra}\n")
            for s, r, f in rows:
                file.write(" ".join([s, *map(repr, r), *map(repr, f)]) + "\n")
    log(f"end {os.getpid()} {number}")


if __name__ == "__main__":
    main()
