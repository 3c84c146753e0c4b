"""Faults that users of other tools reported, what happens here, and the tests that show it.

`docs/limits.md` is made from this table, and a test looks whether its tests exist.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedFault:
    """A row of the table.

    Attributes:
        where: tool and number of the report, or "-" where we found it ourselves.
        what: the situation, in words.
        here: what happens here.
        tests: functions that show it, each as "file::function", the file below `Testing/`.
    """

    where: str
    what: str
    here: str
    tests: tuple[str, ...]


VOLUMES, READING = "Python/files/test_volumes.py", "Python/files/test_reading.py"
ORIENTATIONS = "Python/files/test_orientations.py"
FAULTS, TRANSFORMS = "Python/files/test_faults.py", "Python/files/test_transform_files.py"
FOUND = "Python/network/test_brain_extraction.py"
JUDGED = "Python/test_verdicts.py"
BATCH, JOB = "Python/process/test_batch.py", "Python/process/test_job.py"
MADE_FROM = "Python/process/test_made_from.py"
CASES = "Python/process/test_cases.py"

REPORTED_FAULTS = (
    ReportedFault(
        "ANTs #826, fMRIPrep #988",
        "a NIfTI header without orientation",
        "said, and never called good",
        (f"{VOLUMES}::test_a_header_without_orientation_is_said",),
    ),
    ReportedFault(
        "ANTs #400, #1110",
        "a slab, or a brain without its top or bottom",
        "said; a brain that the field of view cuts off is never called good. Where a part was emptied instead, small "
        "losses (10 % at the top, a slab of 85 %) were called good, and these results were right (`docs/verdict.md`)",
        (
            "Python/geometry/test_cut.py::test_a_cut_is_named_by_the_side_of_the_body_however_the_scan_is_stored",
            f"{FOUND}::test_the_brain_is_found_in_a_slab_of_a_head_and_cut_off_at_both_ends",
            f"{JUDGED}::test_a_coarse_brain_is_told_from_its_mirror_image_and_from_the_same_without_its_bottom",
        ),
    ),
    ReportedFault(
        "Slicer forum 5081",
        "a transform of tight crops, applied to the whole head",
        "the affine map goes on beyond the field; Slicer's grid node alone keeps the displacement of its border",
        (
            "Python/geometry/test_transforms.py::test_far_from_the_brain_the_map_is_the_affine_alone",
            "MRML/test_transforms.py::test_far_from_the_brain_slicer_takes_the_affine_map_alone_from_transform_h5",
        ),
    ),
    ReportedFault(
        "ITK #1958",
        "a full disk",
        "no file under its final name, one sentence; a cohort ends",
        (
            f"{FAULTS}::test_a_file_that_may_not_grow_is_refused_in_every_format",
            f"{FAULTS}::test_a_full_disk_is_said_in_every_format",
            f"{FAULTS}::test_what_is_not_what_was_written_is_noticed",
            f"{FAULTS}::test_a_result_finds_another_place_where_its_own_fails_and_says_it",
            f"{BATCH}::test_a_batch_ends_where_its_folder_takes_no_more_results_and_fills_no_other_place",
        ),
    ),
    ReportedFault(
        "moby #19309",
        "an output folder on another disk, or in a closed folder",
        "written, or refused before anything is computed",
        (
            f"{FAULTS}::test_a_folder_on_another_disk_takes_a_result",
            f"{FAULTS}::test_the_only_writable_place_is_enough_and_a_closed_one_is_refused_beforehand",
        ),
    ),
    ReportedFault(
        "fMRIPrep #819, ANTs #1804",
        "qform and sform differ",
        "it is said which was taken; outputs keep both and their codes",
        (
            f"{ORIENTATIONS}::test_where_two_orientations_differ_it_is_said_which_was_taken",
            f"{ORIENTATIONS}::test_an_output_on_its_grid_keeps_both_orientations_and_their_codes",
        ),
    ),
    ReportedFault(
        "pyradiomics #584",
        "tables with semicolons, tabs, blank lines, a column twice",
        "read, or a sentence that names the line",
        (
            f"{CASES}::test_tables_of_every_spreadsheet_are_read",
            f"{CASES}::test_a_bad_table_is_refused_in_one_sentence_before_anything_runs",
            f"{CASES}::test_a_fault_of_a_table_names_the_line_where_it_stands",
        ),
    ),
    ReportedFault(
        "nibabel #1001, #1344, TorchIO #220",
        "labels that a scale factor moved off whole numbers",
        "rounded",
        (f"{VOLUMES}::test_labels_that_a_scale_factor_moved_off_whole_numbers_are_rounded",),
    ),
    ReportedFault(
        "ANTsPy #574, nnU-Net #2381",
        "labels of hundreds of millions, negative ones, two empty maps",
        "the labels that are there count; it is said where there are none",
        (
            "Python/test_overlap.py::test_numbers_of_hundreds_of_millions_need_no_memory_of_that_size",
            "Python/test_overlap.py::test_negative_numbers_are_no_labels_and_two_empty_maps_have_none",
        ),
    ),
    ReportedFault(
        "Slicer #7605",
        "a segmentation with label values above 32,767",
        "the values are kept",
        ("MRML/test_carried.py::test_numbers_of_labels_are_kept_however_large",),
    ),
    ReportedFault(
        "mne-bids-pipeline #901",
        "a cohort's table, preset or labels changed, the same output folder",
        "what has changed is registered again; old files are removed or said",
        (
            f"{MADE_FROM}::test_a_pair_is_registered_again_where_what_it_was_made_from_has_changed",
            f"{MADE_FROM}::test_no_file_of_an_earlier_result_lies_beside_the_new_one_and_others_stay",
            f"{BATCH}::test_results_of_pairs_that_the_table_does_not_name_are_said",
        ),
    ),
    ReportedFault(
        "-",
        "a file of any format cut short, or with NaN",
        "refused",
        (
            f"{READING}::test_a_file_of_any_format_cut_short_is_refused",
            f"{READING}::test_voxels_that_are_not_numbers_are_refused_in_every_format",
        ),
    ),
    ReportedFault(
        "ipykernel #209",
        "a working folder with a `random.py` or `numpy.py`",
        "not looked at",
        (f"{JOB}::test_files_in_the_working_folder_are_not_taken_for_python_packages",),
    ),
    ReportedFault(
        "internetarchive #284, OpenNeuro #79",
        "a name that is not UTF-8; a folder that may not be entered",
        "one sentence",
        (
            f"{READING}::test_a_name_that_is_not_utf_8_is_a_sentence",
            f"{FAULTS}::test_a_folder_that_may_not_be_entered_is_a_sentence_wherever_a_path_is_asked_for",
        ),
    ),
    ReportedFault(
        "-",
        "Ctrl-C or SIGTERM in a cohort, or while a file is written",
        "it is said what is kept; no half-written file",
        (
            "Python/cli/test_interrupts.py::test_a_batch_that_is_interrupted_says_that_what_is_done_is_kept",
            f"{BATCH}::test_an_interrupted_run_keeps_the_lines_of_the_pairs_that_it_has_not_reached",
            "Python/process/test_bids.py::test_an_interrupted_run_leaves_every_result_under_its_bids_name",
            "Python/cli/test_interrupts.py::test_a_signal_while_a_file_is_written_leaves_nothing",
        ),
    ),
    ReportedFault(
        "ITK #5683, #3375",
        "a program whose language has a decimal comma",
        "no number changes",
        (f"{READING}::test_a_language_with_a_decimal_comma_changes_no_number",),
    ),
    ReportedFault(
        "-",
        "a 2-D or singular transform, a header of nonsense, a name of 250 letters",
        "sentences; the name is written",
        (
            f"{TRANSFORMS}::test_transforms_that_no_scan_can_use_are_refused_in_one_sentence",
            f"{READING}::test_a_header_of_nonsense_is_a_sentence",
            f"{READING}::test_a_name_of_250_letters_is_written",
        ),
    ),
    ReportedFault(
        "ITK #3994, SimpleITK #1433",
        "axes that are not quite at right angles",
        "the nearest that are, with a warning; refused from 1 % on",
        (
            f"{ORIENTATIONS}::test_axes_not_quite_at_right_angles_become_the_nearest_that_are_and_it_is_said",
            f"{ORIENTATIONS}::test_axes_far_from_right_angles_are_refused_in_every_format",
            "MRML/test_volumes.py::test_a_grid_that_is_hardly_sheared_becomes_the_nearest_with_right_angles_as_in_files",
        ),
    ),
    ReportedFault(
        "FreeSurfer #1025, pyradiomics #263",
        "a mask of the same brain in another order of axes, or cropped",
        "laid onto the image",
        (f"{VOLUMES}::test_a_mask_on_the_same_voxels_in_another_order_or_cropped_is_laid_onto_the_image",),
    ),
    ReportedFault(
        "CaPTk #1060, MONAI #2743, nibabel #898, ITK #3639",
        "a DICOM folder or slice, `.mgz`, a compressed file called `.nii`, NIfTI-2",
        "read",
        (
            "Python/files/test_dicom.py::test_a_folder_with_a_dicom_series_is_a_volume_and_so_is_any_of_its_files",
            f"{READING}::test_volumes_of_freesurfer_are_read_as_nibabel_reads_them",
            f"{READING}::test_a_compressed_nifti_file_is_known_by_its_content",
            f"{READING}::test_nifti_2_is_read_as_nibabel_reads_it",
        ),
    ),
    ReportedFault(
        "uniGradICON #87, SimpleITK #2499",
        "a centred affine map in a composite, a warp as an image, the inverse of a composite",
        "read, and inverted",
        (
            f"{TRANSFORMS}::test_classes_that_simpleitk_reads_and_cannot_give_out_become_affine",
            f"{TRANSFORMS}::test_a_displacement_field_is_read_from_any_image",
            f"{TRANSFORMS}::test_any_transform_warps_the_other_way_too",
        ),
    ),
)
