# Messages export the folders of the Python that built them. Drop what is not here (the ROS wheels'
# /opt/python) and, from our own, numpy's: CMake refuses it if the environment lies in this folder.
function(drop_include_folders target pattern)
  get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(folders MATCHES "${pattern}")
    list(FILTER folders EXCLUDE REGEX "${pattern}")
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
  endif()
endfunction()

get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS imported)
  drop_include_folders(${target} "/opt/python/")
endforeach()
