"""How a site gives up an instance of a file (docs/adr/0038). Pure.

``row`` has the states of an instance and its transitions, ``voucher`` decides whether a store answers for its own
instance, ``count`` whether the answers are enough, ``refusal`` has the words for a no.

1. *Intent.* One transaction makes the row pending under a fresh nonce. Only then is anybody asked.
2. *Round 1, rows.* Each store that holds the file vouches by its row and by a name that opens, after the question came.
3. *Decide.* Enough answers: the row is decided. Then the bytes are renamed into ``trash/<nonce>/``.
4. *Round 2, bytes.* After the grace, under another fresh nonce: each voucher reads its bytes, and proves it.
5. *Gone*, or the bytes are put back at their name and the row is available again.

No leases, no clocks: time decides when to try, never whether it is safe.
"""
