"""`mask: axolotl`: what Axolotl 0.21 makes of a row, its faults included, for runs that reproduce its labels.

Each file has the types of one family that Axolotl treats in another way. They use the tables and small functions of
`formats`, which do not know them; `data/masks.py` chooses between the two.
"""

from tunesmith.data.axolotl.chat import chat
from tunesmith.data.axolotl.dialogue import DIALOGUE, DIALOGUE_TYPES
from tunesmith.data.axolotl.instruct import INSTRUCT
from tunesmith.data.axolotl.raw import RAW
from tunesmith.data.axolotl.sharegpt import SHAREGPT, SHAREGPT_TYPES
from tunesmith.data.axolotl.trl import prompt_completion
from tunesmith.data.formats.conversation import Conversation
from tunesmith.data.formats.spec import Format

FORMATS: dict[str, Format] = {
    "chat_template": chat,
    "prompt_completion": prompt_completion,
    **INSTRUCT,
    **RAW,
    **DIALOGUE,
    **SHAREGPT,
}
"""Value of `type` -> its function, for the types of which Axolotl makes something else."""

CONVERSATIONS: dict[str, Conversation] = SHAREGPT_TYPES | DIALOGUE_TYPES
"""Types that lay out a conversation without a chat template."""
