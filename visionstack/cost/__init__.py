"""What a request, a day and a million images cost, on Lambda, on EC2 and on a mix of both.

Everything here is arithmetic on a dated price book; nothing is measured and nothing is fetched but
by `refresh`. Amounts are US dollars, before tax.
"""
