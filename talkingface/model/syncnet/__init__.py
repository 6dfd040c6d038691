"""SyncNet: do these lips say what is heard?"""

from talkingface.model.syncnet.model import SyncNetModel

__all__ = ["SyncNetModel"]
