"""Reports: one set of sections, drawn on the terminal, as Markdown, CSV, JSON and one HTML page.

A command that measures fills a `Report` and writes it; the three kinds of figure look different
wherever they are shown.

    from pathlib import Path
    from runtime.measurement import machine
    from visionstack.report.figures import computed, measured, paper
    from visionstack.report.sections import (
        Box, Headline, Headlines, Latency, Picture, Pictures, Row, Samples, Table,
    )
    from visionstack.report.sections import Report, write

    report = Report(
        title="One clip, one CPU",
        machine=machine.describe().line,
        versions=machine.versions(),
        sections=[
            Headlines([Headline("Frames a second", measured(71.8, "frames/s", samples=795))]),
            Pictures("Seen", [Picture(jpeg, alt="a dog", boxes=[Box("dog", 0.8, 1, 2, 3, 4)])]),
            Latency("Frame to detections", [Samples("this machine", milliseconds)]),
            Table(
                "Beside the paper",
                ["machine", "seconds per image"],
                [Row(["this machine", measured(0.0139, "s", samples=795)]),
                 Row(["p3.2xlarge", paper(0.023444, "s", printed="0.023444", source="table 3")])],
            ),
        ],
        data={"fps": 71.8},
    )
    write(report, Path("out/example"))  # report.json, report.html, report.md, report.csv
"""
