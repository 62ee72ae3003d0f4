"""Whether PowerShell scripts are well formed: python parse_powershell.py FILE...

By tree-sitter's grammar, since PowerShell itself is in no registry that CI reaches.
"""

import sys

import tree_sitter_powershell
from tree_sitter import Language, Parser


def errors(node):
    if node.type == "ERROR" or node.is_missing:
        yield node
        return
    for child in node.children:
        yield from errors(child)


parser = Parser(Language(tree_sitter_powershell.language()))
found = False
for file in sys.argv[1:]:
    with open(file, "rb") as script:
        tree = parser.parse(script.read())
    for node in errors(tree.root_node):
        found = True
        row, column = node.start_point
        print(f"{file}:{row + 1}:{column + 1}: this is no PowerShell: {node.text.decode()!r}")
    if not tree.root_node.has_error:
        print(f"{file}: well formed")
sys.exit(found)
