"""What a request, a day and a million images cost, on Lambda, on EC2 and on a mix of both.

Everything here is arithmetic on a dated price book; nothing is measured and nothing is fetched but
by `refresh`. Amounts are US dollars, before tax.
"""

from typing import Literal

Gateway = Literal["rest", "http", "none"]
"""API Gateway's kinds. It stands here since a command names it before it loads anything else."""
