"""Tables that stand in a document."""


def part_of(text, name):
    """What stands between a part's marks; empty where there is none of that name."""
    return text.partition(f"<!-- {name}: begin -->\n")[2].partition(f"<!-- {name}: end -->")[0]


def read_tables(text):
    """Cells of every Markdown table, the header first, the line below it left out."""
    tables = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif tables[-1]:
            tables.append([])
    return [[table[0], *table[2:]] for table in tables if table]
