"""`mask: axolotl`: what Axolotl 0.21 makes of a row, its faults included, for runs that reproduce its labels.

Each file has the types of one family that Axolotl treats in another way. They use the tables and small functions of
`formats`, which do not know them; `data/masks.py` chooses between the two.
"""

from dataclasses import replace

from tunesmith.data.axolotl.chat import CHAT
from tunesmith.data.axolotl.dialogue import DIALOGUE
from tunesmith.data.axolotl.instruct import INSTRUCT
from tunesmith.data.axolotl.raw import RAW
from tunesmith.data.axolotl.sharegpt import SHAREGPT
from tunesmith.data.axolotl.tokens import encode
from tunesmith.data.axolotl.trl import PROMPT_COMPLETION
from tunesmith.data.formats.format import Format

FORMATS: dict[str, Format] = {
    name: replace(record, encode=encode)
    for name, record in (CHAT | PROMPT_COMPLETION | INSTRUCT | RAW | DIALOGUE | SHAREGPT).items()
}
"""Value of `type` -> its record."""
