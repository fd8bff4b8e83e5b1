"""Size classes and tiles, the step, and the scheduler that keeps lanes busy."""

from kups_relax.relaxation._checkpoint import Saved as Saved
from kups_relax.relaxation._checkpoint import is_checkpoint as is_checkpoint
from kups_relax.relaxation._checkpoint import read_checkpoint as read_checkpoint
from kups_relax.relaxation._checkpoint import write_checkpoint as write_checkpoint
from kups_relax.relaxation._classes import SizeClass as SizeClass
from kups_relax.relaxation._classes import axis_lengths as axis_lengths
from kups_relax.relaxation._classes import size_class as size_class
from kups_relax.relaxation._evaluate import Evaluated as Evaluated
from kups_relax.relaxation._evaluate import evaluate as evaluate
from kups_relax.relaxation._evaluate import gives_stress as gives_stress
from kups_relax.relaxation._evaluate import has_volume as has_volume
from kups_relax.relaxation._jobs import Frame as Frame
from kups_relax.relaxation._jobs import Job as Job
from kups_relax.relaxation._jobs import Outcome as Outcome
from kups_relax.relaxation._jobs import Refused as Refused
from kups_relax.relaxation._memory import fitted as fitted
from kups_relax.relaxation._memory import prepare as prepare
from kups_relax.relaxation._scheduler import Scheduler as Scheduler
from kups_relax.relaxation._scheduler import max_workers as max_workers
from kups_relax.relaxation._single import SinglePoints as SinglePoints
from kups_relax.relaxation._status import ADVICE as ADVICE
from kups_relax.relaxation._status import Status as Status
from kups_relax.relaxation._step import Program as Program
