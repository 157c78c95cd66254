"""Conversations with models: which ones, what they are prompted with, and what is wrong in answers.

``find`` reads what a user names, a model or a run folder, as recipes; ``ChatModel`` holds a loaded
model and its conversation; ``check`` grades an answer and its steps. Nothing is printed here.
"""

from mathtune.conversation.chat_model import ChatModel, side_by_side
from mathtune.conversation.check import Checked, check
from mathtune.conversation.find import BASE, Named, find

__all__ = ["BASE", "ChatModel", "Checked", "Named", "check", "find", "side_by_side"]
