"""A process that moves amounts between shops as fast as it can, until its standard input ends."""

import json
import select
import sys

import httpx

url, name = sys.argv[1:]
number = 0
with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
    while not select.select([sys.stdin], [], [], 0)[0]:
        number += 2
        rows = [
            {"shop": shop, "number": number + i, "amount": amount, "at": 1_773_568_800}
            for i, (shop, amount) in enumerate(
                (shop, sign * 0.1 * number) for shop in "ab" for sign in (1, -1)
            )
        ]
        answer = http.post("/api/v1/log", json={"dataset": "Sale", "events": rows})
        assert answer.status_code == 200, answer.text
sys.stdout.write(json.dumps({name: number // 2}))
