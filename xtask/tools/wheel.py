"""A wheel that holds one program: python wheel.py BINARY VERSION PLATFORM FOLDER

`pip install movies-api` then puts the program into the path. The layout is that of the binary
distribution format (PyPA): pip makes a file below `.data/scripts/` executable. The same input makes
the same bytes.
"""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

BINARY, VERSION, PLATFORM, FOLDER = sys.argv[1:]
ROOT = Path(__file__).parents[2]
INFO = f"movies_api-{VERSION}.dist-info"

METADATA = f"""\
Metadata-Version: 2.4
Name: movies-api
Version: {VERSION}
Summary: One binary that turns a bucket into a highly available, linearizable movie catalogue
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.8
Description-Content-Type: text/markdown

"""
TAGS = "".join(f"Tag: py3-none-{platform}\n" for platform in PLATFORM.split("."))
WHEEL = f"Wheel-Version: 1.0\nGenerator: movies-api\nRoot-Is-Purelib: false\n{TAGS}"

files = [
    (f"movies_api-{VERSION}.data/scripts/movies-api", Path(BINARY).read_bytes(), 0o755),
    (f"{INFO}/METADATA", METADATA.encode() + (ROOT / "README.md").read_bytes(), 0o644),
    (f"{INFO}/WHEEL", WHEEL.encode(), 0o644),
    (f"{INFO}/licenses/LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644),
]
record = ""
for name, body, _ in files:
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
    record += f"{name},sha256={digest},{len(body)}\n"
record += f"{INFO}/RECORD,,\n"
files.append((f"{INFO}/RECORD", record.encode(), 0o644))

wheel = Path(FOLDER) / f"movies_api-{VERSION}-py3-none-{PLATFORM}.whl"
with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as out:
    for name, body, mode in files:
        entry = zipfile.ZipInfo(name)  # with the oldest date that a zip knows
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        out.writestr(entry, body)
print(wheel)
