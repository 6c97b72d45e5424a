"""Files and directories, safely: nothing here knows what they are for."""
