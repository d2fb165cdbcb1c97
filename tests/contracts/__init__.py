"""What every provider adapter must do, whatever its vendor's words are.

One suite runs over every dialect. What is asked is given once, in canonical form
(`scenarios.CALLS`), and so is what an answer means (`scenarios.ANSWERS`, `scenarios.FAILURES`).
A dialect is a file `dialects/NAME.py` with a `DIALECT`, found by being there, that gives

    asked     for each call: the path and the JSON body that must reach the vendor
    told      for each answer: the vendor's bytes, whole and as the pieces of a stream;
              `but` where this vendor cannot say a field that the canonical answer has
    refused   for each failure: status, headers and bytes
    lacks     for each of these that the vendor has no words for: why

Each name of a scenario stands in exactly one of the tables or in `lacks`; a test says so. What
goes wrong on the wire (cut, stalled, garbled, a page of HTML, a huge line, an echoed key) needs
no table: the suite makes it from the pieces of the answer `text`, of which `opening` come before
the first content. A vendor whose stream is no text gives its own `garbage`, and says with
`survives_garbage` whether an answer goes on after it.

The vendor is `vendor.Vendor`, a server on loopback that sends exactly the bytes it is given.
Expected bodies and bytes are written by hand from the vendor's documentation, never copied from
what an adapter did. A scenario of one dialect alone stands in `test_NAME.py`.
"""
