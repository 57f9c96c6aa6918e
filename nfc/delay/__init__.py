"""Delay monitoring: what goes between routers and a collector, and what the collector keeps.

`wire` has the bytes, `report` runs on the far router, `collector` where the reports go, `query`
on the near router. None of them looks into the compiler.
"""
