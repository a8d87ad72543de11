# Generates all interfaces of the package that includes it; see test/support/interface_packages.py.
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(action_msgs REQUIRED)  # brings what services depend on
find_package(builtin_interfaces REQUIRED)
find_package(geometry_msgs REQUIRED)
find_package(std_msgs REQUIRED)

include(${CMAKE_CURRENT_LIST_DIR}/../../msg/include_folders.cmake)

# rclpy needs no C++; without it this takes a third of the time.
list(FILTER AMENT_EXTENSIONS_rosidl_generate_idl_interfaces EXCLUDE REGEX "cpp|introspection|rust")
file(GLOB_RECURSE interfaces RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} *.msg *.srv *.action)
rosidl_generate_interfaces(${PROJECT_NAME} ${interfaces}
  DEPENDENCIES action_msgs builtin_interfaces geometry_msgs std_msgs)
drop_include_folders(${PROJECT_NAME}__rosidl_generator_py "/numpy/")
ament_package()
